"""The demo: its tables, its two pictures, and what an interrupted run leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl import demo

PIXELS = [f"pixel_{k}" for k in range(784)]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return demo.make_digits(tmp_path_factory.mktemp("digits"), n_train=3_000, n_valid=600, seed=3)


def test_tables_hold_grey_values_and_a_label(tables):
    for path, n in zip(tables, (3_000, 600), strict=True):
        table = pd.read_parquet(path)
        assert list(table.columns) == [*PIXELS, "digit"]
        assert len(table) == n
        assert set(table[PIXELS].dtypes) == {np.dtype("uint8")}
        assert set(table["digit"]) == {str(digit) for digit in range(10)}
        assert all(isinstance(digit, str) for digit in table["digit"])


def test_images_are_ink_on_blank_paper(tables):
    images = pd.read_parquet(tables[0])[PIXELS].to_numpy()
    assert images.max(axis=1).min() > 200  # every image has full ink somewhere
    assert 0.5 < (images == 0).mean() < 0.8
    corners = images.reshape(-1, 28, 28)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()


def test_enlarged_digit_without_a_turn_looks_like_its_original():
    (originals, _), _ = demo.split_originals(0)
    upright = np.eye(2)[None].repeat(len(originals), axis=0) / demo.PITCH
    unmoved = np.zeros((len(originals), 2))
    images = demo.draw_images(demo.enlarge(originals), np.arange(len(originals)), upright, unmoved)
    # Pixel 13.5 + 2.75 (k - 3.5) of an image lies on pixel k of its original.
    centres = np.rint(13.5 + demo.PITCH * (np.arange(8) - 3.5)).astype(int)
    sampled = images.reshape(-1, 28, 28)[:, centres[:, None], centres]
    assert np.corrcoef(sampled.ravel(), originals.ravel())[0, 1] > 0.97


def test_parts_share_no_original_and_have_all_digits_alike():
    (train, train_labels), (valid, valid_labels) = demo.split_originals(0)
    assert len(train) + len(valid) == 1_797
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in valid}
    shares = np.bincount(valid_labels) / (np.bincount(train_labels) + np.bincount(valid_labels))
    np.testing.assert_allclose(shares, 0.2, atol=0.01)


def test_rows_depend_on_seed_and_number_only(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "ROWS_PER_FILE", 170)
    fewer = demo.make_digits(tmp_path / "fewer", n_train=500, n_valid=100, seed=3)
    for small, large in zip(fewer, tables, strict=True):
        rows = pd.read_parquet(small)
        pd.testing.assert_frame_equal(rows, pd.read_parquet(large).head(len(rows)))

    other, _ = demo.make_digits(tmp_path / "other", n_train=500, n_valid=100, seed=4)
    assert (pd.read_parquet(other)[PIXELS] != pd.read_parquet(fewer[0])[PIXELS]).to_numpy().any()


def test_tables_are_kept_until_the_arguments_change(tmp_path):
    def written():
        return {path: path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*/*.parquet"))}

    demo.make_digits(tmp_path, n_train=40, n_valid=20)
    first = written()
    demo.make_digits(tmp_path, n_train=40, n_valid=20)
    assert written() == first

    _, valid = demo.make_digits(tmp_path, n_train=40, n_valid=30)
    assert len(pd.read_parquet(valid)) == 30
    assert {path for path in first if written()[path] != first[path]} == {valid / "part-00000.parquet"}


def test_an_interrupted_table_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    draw_images, n_calls = demo.draw_images, 0

    def interrupted(*args):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        return draw_images(*args)

    monkeypatch.setattr(demo, "ROWS_PER_FILE", 20)
    monkeypatch.setattr(demo, "draw_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.make_digits(tmp_path, n_train=50, n_valid=20)
    assert not (tmp_path / "train").exists()

    train, valid = demo.make_digits(tmp_path, n_train=50, n_valid=20)
    assert len(pd.read_parquet(train)) == 50
    assert sorted(tmp_path.iterdir()) == [train, valid]


def test_folders_of_others_are_left_alone(tmp_path):
    theirs = tmp_path / "train" / "part-00000.parquet"
    theirs.parent.mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(theirs)
    with pytest.raises(FileExistsError, match="no table of digits"):
        demo.make_digits(tmp_path, n_train=10, n_valid=10)
    assert list(pd.read_parquet(theirs)) == ["x"]


def test_no_images_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="valid: 0 images"):
        demo.make_digits(tmp_path, n_train=10, n_valid=0)


def test_confusion_shows_each_count():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.subplots()
    demo.plot_confusion(ax, np.array(["0", "0", "1", "9"]), np.array(["0", "0", "7", "9"]))
    assert ax.get_title() == "1 of 4 images misread (25.00%)"
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    assert shown == {(0, 0): "2", (7, 1): "1", (9, 9): "1"}  # (predicted, written)


@pytest.mark.filterwarnings(
    "ignore:dropped .* columns that are constant:dask_dl.errors.DaskDLWarning"
)  # the blank margin
def test_the_whole_demo_leaves_what_it_says(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    demo.run_demo(tmp_path, epochs=1, n_train=1500, n_valid=300)
    printed = capsys.readouterr().out
    assert "1,500 images of digits to train on, 300 to validate with" in printed
    assert "valid logloss" in printed
    error = float(printed.split("% of the 300 validation images")[0].split()[-1])
    assert error < 25  # guessing misreads 90 %
    assert {p.name for p in tmp_path.iterdir()} == {"digits", "digits.model.zip", "history.png", "confusion.png"}
    for name in ("history.png", "confusion.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
