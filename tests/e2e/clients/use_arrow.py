"""Apache Arrow's own S3 file system: a dataset of Parquet files, which DuckDB asks through Arrow."""

import os
import time

import duckdb
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
from phases import live
from pyarrow.fs import FileSelector, FileType, S3FileSystem

files = S3FileSystem(
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    endpoint_override=os.environ["ENDPOINT"],
    region=os.environ["AWS_DEFAULT_REGION"],
    allow_bucket_creation=True,
)
ROOT, ROWS = "arrow-lake/measurements", 200_000
years = {}


def write(year, rows, **options):
    values = pyarrow.array(range(rows), pyarrow.int64())
    table = pyarrow.table({"year": pyarrow.array([year] * rows, pyarrow.int32()), "value": values})
    # Rows that do not compress, so that Arrow sends parts.
    noise = pyarrow.array([os.urandom(32) for _ in range(rows)], pyarrow.binary())
    table = table.append_column("noise", noise)
    pyarrow.dataset.write_dataset(
        table,
        ROOT,
        filesystem=files,
        format="parquet",
        partitioning=pyarrow.dataset.partitioning(pyarrow.schema([("year", pyarrow.int32())]), flavor="hive"),
        existing_data_behavior="delete_matching",
        **options,
    )
    years[year] = rows


def same():
    dataset = pyarrow.dataset.dataset(ROOT, filesystem=files, format="parquet", partitioning="hive")
    assert dataset.count_rows() == sum(years.values())
    found = duckdb.sql("select year, count(*), sum(value), max(value) from dataset group by year").fetchall()
    wanted = {(year, rows, rows * (rows - 1) // 2, rows - 1) for year, rows in years.items()}
    assert set(found) == wanted, found
    # One column of some rows, which Arrow reads by ranges.
    some = dataset.to_table(columns=["value"], filter=pyarrow.dataset.field("value") >= ROWS // 2)
    assert some.num_rows == sum(max(0, rows - ROWS // 2) for rows in years.values())


def before():
    files.create_dir("arrow-lake")
    write(2024, ROWS)
    write(2025, 1000)
    same()


def after():
    same()
    write(2025, ROWS)
    write(2026, 10)
    same()
    files.move(f"{ROOT}/year=2026/part-0.parquet", f"{ROOT}/year=2026/moved.parquet")
    same()


def patiently(work):
    """libcurl, which Arrow asks by, keeps a name for a minute. Until then some of its connections lead to the old side,
    which lives: it takes no writes, says to try again, and in what it reads it is a little behind."""
    end = time.monotonic() + 90
    while True:
        try:
            return work()
        except (AssertionError, OSError, duckdb.Error):
            if time.monotonic() > end:
                raise
        time.sleep(1)


def remove(year):
    if files.get_file_info(f"{ROOT}/year={year}").type != FileType.NotFound:
        files.delete_dir(f"{ROOT}/year={year}")


def home():
    same()
    patiently(lambda: write(2027, 5))
    patiently(same)
    patiently(lambda: remove(2024))
    del years[2024]
    patiently(same)
    names = [info.path for info in files.get_file_info(FileSelector(ROOT, recursive=True)) if info.is_file]
    assert f"{ROOT}/year=2026/moved.parquet" in names


live({"before": before, "after": after, "home": home})
