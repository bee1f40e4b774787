# All programs that scripts/setup would install or build. scripts/setup still creates the Python
# environment, from the same lock as everywhere, and builds what is too old here.
{
  alejandra,
  colmena,
  git,
  gnumake,
  go,
  headscale,
  iperf3,
  iproute2,
  iputils,
  lib,
  libfaketime,
  mkShell,
  nebula,
  nftables,
  nix,
  openssh,
  openssl,
  openvpn,
  procps,
  pssh,
  pulumi-bin,
  python3,
  rsync,
  s6,
  stdenv,
  tailscale,
  tinc,
  tini,
  tor,
  util-linux,
  wireguard-go,
  wireguard-tools,
  writeShellScriptBin,
  zlib,
}:
mkShell {
  packages = [
    alejandra
    colmena
    git
    gnumake
    go
    headscale
    iperf3
    iproute2
    iputils
    libfaketime
    nebula
    nftables
    nix
    openssh
    openssl
    openvpn
    procps
    # Debian's name of it, which set-up asks for
    (writeShellScriptBin "parallel-ssh" ''exec ${pssh}/bin/pssh "$@"'')
    pssh
    pulumi-bin
    python3
    rsync
    s6
    tailscale
    tinc
    tini
    tor
    util-linux
    wireguard-go
    wireguard-tools
  ];
  # packages from PyPI come with machine code that expects these where other systems have them
  LD_LIBRARY_PATH = lib.makeLibraryPath [stdenv.cc.cc.lib zlib];
  shellHook = ''
    if [ -x scripts/setup ]; then
      scripts/setup --all && . scripts/activate
    fi
  '';
}
