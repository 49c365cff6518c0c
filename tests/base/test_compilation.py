import threading
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest

from jaxals import ALS, Interactions, Objective, datasets, fit, make_mesh
from jaxals._base.compilation import CompileTime, compile_ahead, compile_time
from tests.combinations import fast_first


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The names of programs that XLA was given, in the order in which they were done."""
    names: list[str] = []
    is_listening = True

    def hear(event: str, duration_secs: float, **about: str | int) -> None:
        if is_listening and event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield names
    is_listening = False  # there is no public way to stop listening


def test_a_span_takes_in_those_that_lie_in_it():
    spans = CompileTime()
    for span in ((0.0, 1.0), (2.0, 3.0), (4.0, 5.0), (2.0, 6.0)):
        spans.add(*span)
    assert spans.spans == [(0.0, 1.0), (2.0, 6.0)]
    assert spans.seconds == 5


def test_what_another_thread_compiles_is_not_counted():
    program = jax.jit(lambda x: jnp.sin(x) + 3)
    with compile_time() as here:
        other = threading.Thread(target=lambda: program(jnp.ones(3)))
        other.start()
        other.join()
    assert here.seconds == 0
    with compile_time() as outer:
        with compile_time() as inner:
            program(jnp.ones(4))
        program(jnp.ones(5))
    assert inner.seconds > 0
    assert outer.seconds > 0


def test_what_was_compiled_ahead_is_not_compiled_again(compiled):
    program, array = jax.jit(lambda x: jnp.cos(x) + 5), jnp.ones(3)

    def fails() -> None:
        raise ValueError("for the call to say")

    compiled.clear()
    with jax.default_matmul_precision("highest"):
        with compile_time() as waiting:
            compile_ahead([lambda: program.lower(array).compile(), fails])
        assert len(compiled) == 1
        program(array)
    assert len(compiled) == 1
    assert waiting.seconds > 0


@pytest.mark.parametrize("devices", fast_first(1, [8, 1]))
def test_a_fit_compiles_each_program_once_for_each_shape(devices, compiled):
    mesh = make_mesh(jax.devices()[:devices])
    data = datasets.synthetic(n_users=23, n_items=17, n_interactions=150, seed=0)
    trainer = ALS(factors=3, sweeps=4)
    first = fit(data, Objective.ials(0.1, 0.01), trainer, mesh=mesh, progress=False)
    names = [name for name in compiled if "half_step" in name or "solve_parts" in name]
    assert len(names) == 2  # users and items
    assert len(compiled) <= 24
    # What runs again finds all that it needs, and counts nothing as compilation.
    done = len(compiled)
    again = fit(data, Objective.ials(0.1, 0.01), trainer, mesh=mesh, progress=False)
    assert len(compiled) == done
    assert (again.history["compile_seconds"] < first.history["compile_seconds"].iloc[-1]).all()
    assert first.history["compile_seconds"].is_monotonic_increasing
    assert first.history["compile_seconds"].iloc[0] > first.history["seconds"].iloc[-1]


def test_callbacks_see_what_compiling_took():
    seen = []
    data = Interactions.from_arrays([0, 0, 1, 2], [0, 1, 1, 2])
    run = fit(
        data,
        Objective.hkv(),
        ALS(factors=2, sweeps=2),
        callbacks=[lambda progress: seen.append(progress.compile_seconds)],
        progress=False,
    )
    assert seen == run.history["compile_seconds"].tolist()
