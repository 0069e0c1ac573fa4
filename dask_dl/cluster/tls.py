"""Certificates for a scheduler that talks TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from dask_dl.errors import ClusterError

OPTIONS = {"ca_file": "--tls-ca-file", "cert": "--tls-cert", "key": "--tls-key"}


class TlsFiles(NamedTuple):
    """PEM files of a client, None where Dask's configuration names them."""

    ca_file: str | None = None  #: certificate of the authority that signed the others
    cert: str | None = None  #: certificate of the client
    key: str | None = None  #: its private key; None: it is in the file of the certificate

    def security(self, address: str) -> Any:
        """Security object that distributed needs for an address; None if that is not encrypted.

        Raises
        ------
        ClusterError
            When the address needs files that are not given or cannot be used, or needs none.
        """
        from distributed import Security

        if not address.startswith("tls://"):
            if any(self):
                given = ", ".join(OPTIONS[name] for name, file in self._asdict().items() if file)
                raise ClusterError(f"--scheduler {address} is not encrypted: leave out {given}, or write tls://.")
            return None
        files = {"tls_ca_file": self.ca_file, "tls_client_cert": self.cert, "tls_client_key": self.key}
        security = Security(require_encryption=True, **{name: file for name, file in files.items() if file})
        needed = {"--tls-ca-file": security.tls_ca_file, "--tls-cert": security.tls_client_cert}
        missing = [option for option, file in needed.items() if not file]
        if missing:
            raise ClusterError(
                f"--scheduler {address} needs certificates: give {' and '.join(missing)} "
                f"(and --tls-key), or set distributed.comm.tls in Dask's configuration."
            )
        self._check()
        try:
            security.get_connection_args("client")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            used = ", ".join(f"{OPTIONS[name]} {file}" for name, file in self._asdict().items() if file)
            raise ClusterError(
                f"{used or 'distributed.comm.tls'}: these are not certificates and key in PEM: {error}."
            ) from error
        return security

    def _check(self) -> None:
        for name, file in self._asdict().items():
            if file is not None and not Path(file).is_file():
                raise ClusterError(f"{OPTIONS[name]}: {file} is no file.")
