# The party environment: the Python that runs a party, with the packages for programs.
{python3}:
python3.withPackages (packages: [
  (packages.callPackage ./mpyc.nix {})
  packages.gmpy2
  packages.numpy
])
