"""Queries read parts of a store, on local disk and on an S3 server that fails while they are read."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from catalogs.errors import UserError
from catalogs.query import add_private, connect, parts_dataset, run_query, storage_error_of
from catalogs.storage_errors import StorageError
from catalogs.store import Store
from tests.support.s3_server import S3, fresh_clients

TABLE = pa.table({"a": range(1000), "b": ["x" * 100] * 1000})
NAMES = ["t/part-1.parquet", "t/part-2.parquet"]
SUM = "SELECT sum(a) AS total FROM parts"


def parts(store: Store) -> ds.Dataset:
    for name in NAMES:
        store.write_table(name, TABLE)
    found = parts_dataset(store, NAMES, TABLE.schema.append(pa.field("newer", pa.int64())))
    assert isinstance(found, ds.Dataset)
    return found


def queried(dataset: ds.Dataset) -> duckdb.DuckDBPyConnection:
    connection = connect()
    connection.register("parts", dataset)
    return connection


@pytest.fixture
def remote(s3: S3, monkeypatch: pytest.MonkeyPatch) -> ds.Dataset:
    """Write two parts on S3, to be read by clients that give up after two attempts."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    fresh_clients()
    return parts(Store(f"{s3.url}/cat"))


def test_parts_are_one_table_with_the_columns_that_are_wanted(tmp_path: Path, remote: ds.Dataset) -> None:
    for dataset in (parts(Store(str(tmp_path))), remote):
        assert run_query(queried(dataset), SUM)["total"].to_pylist() == [2 * sum(range(1000))]
        assert (
            run_query(queried(dataset), "SELECT count(*) AS n FROM parts WHERE a < 10 AND newer IS NULL")["n"][
                0
            ].as_py()
            == 20
        )
        assert dataset.to_table(columns=["a"], filter=ds.field("a") == 3)["a"].to_pylist() == [3, 3]
        assert run_query(queried(dataset), "SELECT a FROM parts LIMIT 1").num_rows == 1  # leaves the rest unread
    assert parts_dataset(Store(str(tmp_path)), [], TABLE.schema).num_rows == 0


@pytest.mark.parametrize("engine", ["arrow", "duckdb"])
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ({"refuse": "AccessDenied"}, "forbidden"),  # a HEAD request is told no reason
        ({"refuse": "AccessDenied", "refuse_methods": ("GET",)}, "access denied"),
        ({"throttle_every": 1}, "throttles"),
        ({"cut_after_bytes": 0}, ""),
    ],
    ids=["no part opens", "no part is read", "throttled", "cut off"],
)
def test_storage_that_fails_while_it_is_read_is_one_clear_line(
    s3: S3, remote: ds.Dataset, fault: dict, line: str, engine: str
) -> None:
    for name, value in fault.items():
        setattr(s3.faults, name, value)
    with pytest.raises(StorageError) as failed:
        remote.to_table() if engine == "arrow" else run_query(queried(remote), SUM)
    assert str(failed.value).startswith(f"{s3.url}/cat: ")
    assert line in str(failed.value)
    assert "\n" not in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_a_part_that_has_gone_since_it_was_listed(s3: S3, remote: ds.Dataset, tmp_path: Path) -> None:
    Store(f"{s3.url}/cat").remove(NAMES[1])
    with pytest.raises(StorageError, match=r"part-2\.parquet was removed since it was listed"):
        remote.to_table()
    with pytest.raises(StorageError, match=r"part-2\.parquet was removed since it was listed"):
        run_query(queried(remote), SUM)
    local = parts(Store(str(tmp_path)))
    (tmp_path / NAMES[0]).unlink()
    with pytest.raises(StorageError, match=r"part-1\.parquet"):
        run_query(queried(local), SUM)


def test_other_errors_of_the_database_are_not_the_storage_s() -> None:
    with pytest.raises(duckdb.Error) as failed:
        connect().execute("SELECT nothing")
    assert storage_error_of(failed.value) is None


def with_private_parts() -> duckdb.DuckDBPyConnection:
    connection = connect()
    rows = add_private(connection, "parts0", TABLE)
    connection.execute(f"CREATE VIEW clips AS SELECT * FROM {rows}")
    return connection


def test_what_views_are_made_of_is_not_listed_and_comes_after_them_where_all_is() -> None:
    connection = with_private_parts()
    assert run_query(connection, "SHOW TABLES")["name"].to_pylist() == ["clips"]
    assert run_query(connection, "DESCRIBE clips")["column_name"].to_pylist() == ["a", "b"]
    assert run_query(connection, "SHOW ALL TABLES")["name"].to_pylist() == ["clips", "parts0"]


def test_private_rows_may_be_replaced() -> None:
    connection = with_private_parts()
    assert add_private(connection, "parts0", TABLE.slice(0, 7)) == "private.parts0"
    assert run_query(connection, "SELECT count(*) AS n FROM clips")["n"].to_pylist() == [7]


@pytest.mark.parametrize(
    ("sql", "end"),
    [
        ("SELECT * FROM clip", 'Did you mean "clips"?'),
        ("SELECT * FROM part0", "Tables: clips"),
        ("SELECT * FROM parts0", "Tables: clips"),
        ("SELECT rule_sync(1)", "Scalar Function with name rule_sync does not exist!"),
    ],
)
def test_a_wrong_name_is_answered_with_names_for_users(sql: str, end: str) -> None:
    connection = with_private_parts()
    connection.execute("CREATE MACRO _rule_sync(x) AS x")
    with pytest.raises(UserError) as failed:
        run_query(connection, sql)
    assert str(failed.value).endswith(end)
