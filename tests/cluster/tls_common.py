"""Certificates for tests, made by the openssl program."""
import os
import shutil
import subprocess


def have_openssl():
    return shutil.which("openssl") is not None


def make_certificates(folder):
    """Two authorities, ca and other; good (signed by ca), soon (by ca, for five days), strange (by other): *.crt and *.key, for localhost."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{ca}.key", "-out", f"{ca}.crt",
                "-days", "400", "-subj", f"/CN={ca}")
    with open(os.path.join(folder, "names"), "w", encoding="ascii") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name, ca, days in (("good", "ca", 365), ("soon", "ca", 5), ("strange", "other", 365)):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", "/CN=localhost")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", str(days),
                "-extfile", "names", "-out", f"{name}.crt")


def cluster_tls(folder, name, key=None):
    """The settings of a member that shows this certificate and checks others' against ca."""
    def file(name):
        return os.path.join(folder, name)
    return {"NORNICDB_CLUSTER_TLS_ENABLED": "true", "NORNICDB_CLUSTER_TLS_CERT_FILE": file(name + ".crt"),
            "NORNICDB_CLUSTER_TLS_KEY_FILE": file((key or name) + ".key"), "NORNICDB_CLUSTER_TLS_CA_FILE": file("ca.crt"),
            "NORNICDB_CLUSTER_TLS_VERIFY_CLIENT": "true", "NORNICDB_CLUSTER_TLS_MIN_VERSION": "1.3"}
