"""Loops of a training, with what they are told and how they end."""

from __future__ import annotations

from training.fifty import fitted


def test_compiling_is_announced(table, capsys, monkeypatch):
    fitted(table, epochs=1, verbose=True)
    assert "compiling" not in capsys.readouterr().out
    monkeypatch.setattr("dask_dl.training.wiring.jit.is_cached", lambda _: False)
    fitted(table, epochs=1, verbose=True)
    assert "compiling the kernels, once for this machine" in capsys.readouterr().out
