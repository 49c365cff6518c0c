"""Small files in the formats that public data sets are distributed in."""

from pathlib import Path

from jaxals import Interactions

FILES: dict[str, dict[str, bytes]] = {
    "lastfm-360k": {
        "usersha1-artmbid-artname-plays.tsv": (
            b'f00\tm1\tAir\t5\nf00\tm2\t"Weird Al" Yankovic\t2\nf00\t\tNA\t4\n'
            b"f00\tm4\t\t9\nf11\tm3\tAir\t7\nf11\tm1\tAir\t1\nf11\t\tZero\t0\nf22\tm5\tMoby\t0\n"
        )
    },
    "lastfm-2k": {
        "user_artists.dat": b"userID\tartistID\tweight\r\n2\t51\t10\r\n2\t7\t3\r\n10\t51\t1\r\n",
        "artists.dat": 'id\tname\turl\tpictureURL\n7\tBjörk "B"\tu\tp\n51\tAir\tu\tp\n9\tnobody\'s\tu\n'.encode(),
    },
    "movielens-100k": {
        "u.data": b"2\t1\t5\t881250949\n1\t3\t3\t891717742\n2\t2\t4\t1\n",
        "u.item": "1|Amélie (2001)|x|\x85\n2|Chasing Amy (1997)||\n3|Chasing Amy (1997)||\n".encode("latin-1"),
    },
    "movielens-1m": {
        "ratings.dat": b"2::1::5::978300760\n1::3::3::1\n2::2::4::1\n",
        "movies.dat": "1::Amélie (2001)::Drama\n2::Chasing Amy (1997)::A\n3::Chasing Amy (1997)::A\n".encode("latin-1"),
    },
    "movielens-20m": {
        "ratings.csv": b"userId,movieId,rating,timestamp\n2,1,5.0,1\n1,3,3.0,1\n2,2,4.0,1\n",
        "movies.csv": (
            'movieId,title,genres\n1,Amélie (2001),x\n2,"Chasing Amy (1997)",x\n3,Chasing Amy (1997),"x"\n'
        ).encode(),
    },
}


def unpack(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in FILES[name].items():
        (folder / file).write_bytes(content)
    return folder


def triples(data: Interactions) -> list[tuple]:
    return sorted(data.to_frame().itertuples(index=False, name=None))
