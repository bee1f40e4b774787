# MPyC, the version and hash of requirements.txt: all parties must run the same.
{
  buildPythonPackage,
  fetchPypi,
  lib,
  setuptools,
}:
buildPythonPackage rec {
  pname = "mpyc";
  version = "0.11";
  pyproject = true;

  src = fetchPypi {
    inherit pname version;
    hash = "sha256-fdq1JNAgKiCjDFRZ4ki+cili9HUHdFPCy8ZdxqLu1Jw=";
  };

  build-system = [setuptools];
  doCheck = false; # upstream's tests run sessions for minutes
  pythonImportsCheck = ["mpyc.runtime"];

  meta = {
    description = "Secure multiparty computation in Python";
    homepage = "https://github.com/lschoe/mpyc";
    license = lib.licenses.mit;
  };
}
