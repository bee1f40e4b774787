# Packages by name alone, and the functions that E3's expressions call, as plain data.
system: let
  lib = import ./lib.nix;
  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/package/${name}";
    version = "1.12.0"; # of nebula: no other one is asked for
  };
  call = scope: file: arguments: let
    f = import file;
  in
    f (builtins.intersectAttrs (builtins.functionArgs f) scope // arguments);
  # an expression that uses another name fails; the tests marked `nixpkgs` look these up there
  names = [
    "alejandra"
    "colmena"
    "coreutils"
    "git"
    "gnumake"
    "go"
    "headscale"
    "iperf3"
    "iproute2"
    "iputils"
    "libfaketime"
    "nebula"
    "nftables"
    "nix"
    "openssh"
    "openssl"
    "openvpn"
    "procps"
    "pssh"
    "pulumi-bin"
    "rsync"
    "s6"
    "tailscale"
    "tinc"
    "tini"
    "tor"
    "util-linux"
    "wireguard-go"
    "wireguard-tools"
    "zlib"
  ];
  pythonPackages = {
    inherit lib;
    callPackage = call pythonPackages;
    buildPythonPackage = arguments: package arguments.pname // arguments;
    fetchPypi = arguments: arguments;
    setuptools = package "setuptools";
    gmpy2 = package "gmpy2";
    numpy = package "numpy";
  };
  pkgs =
    lib.genAttrs names package
    // {
      inherit lib;
      callPackage = call pkgs;
      python3Packages = pythonPackages;
      python3 = package "python3" // {withPackages = choose: package "party" // {chosen = map (p: p.name) (choose pythonPackages);};};
      stdenv = {
        hostPlatform = {inherit system;};
        cc.cc.lib = package "gcc-lib";
      };
      buildEnv = arguments: package arguments.name // {paths = map toString arguments.paths;};
      linkFarm = name: entries: package name // {inherit entries;};
      mkShell = arguments: package "shell" // arguments;
      writeShellScriptBin = name: text: package name // {inherit text;};
      writeText = name: text: package name // {inherit text;};
      writeShellScript = name: text: package name // {inherit text;};
      dockerTools = {
        binSh = package "binSh";
        caCertificates = package "caCertificates";
        usrBinEnv = package "usrBinEnv";
        fakeNss = package "fakeNss" // {override = arguments: package "fakeNss" // arguments;};
        buildLayeredImage = arguments: package arguments.name // arguments;
      };
    };
in
  pkgs
