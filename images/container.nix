# A container for Docker or Podman that serves SSH; its keys are in the volume /var/keys.
{
  callPackage,
  coreutils,
  dockerTools,
  iproute2,
  iputils,
  lib,
  linkFarm,
  nebula,
  nftables,
  openssh,
  openssl,
  openvpn,
  procps,
  tailscale,
  tinc,
  tini,
  tor,
  util-linux,
  wireguard-go,
  wireguard-tools,
  writeShellScript,
  writeText,
}: let
  party = callPackage ../nix/packages/party.nix {};
  # an older one is of no use to E3, which then sends its own
  current = lib.versionAtLeast nebula.version "1.12";
  tools =
    lib.optional current nebula
    ++ [
      openssl
      openvpn
      tailscale
      tinc
      tor
      wireguard-go
      wireguard-tools
    ];
  contract = callPackage ../nix/packages/contract.nix {
    inherit party tools;
    overlays = lib.optional current "nebula" ++ ["openvpn" "plain" "tailscale" "tinc" "tor" "wireguard"];
    services = "supervisor";
  };
  configuration = writeText "sshd_config" ''
    AuthorizedKeysFile /root/.ssh/authorized_keys
    HostKey /var/keys/ssh_host_ed25519_key
    PidFile none
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    PermitRootLogin prohibit-password
    MaxSessions 64
    MaxStartups 64:30:128
    SetEnv PATH=/bin
  '';
  start = writeShellScript "e3-start" ''
    set -eu
    key=/var/keys/ssh_host_ed25519_key
    if [ ! -s "$key" ]; then
      ssh-keygen -q -t ed25519 -N "" -f "$key"
    fi
    if [ -f /var/keys/authorized_keys ]; then
      install -D -m 0600 /var/keys/authorized_keys /root/.ssh/authorized_keys
    fi
    exec ${openssh}/bin/sshd -D -e -f ${configuration}
  '';
in
  dockerTools.buildLayeredImage {
    name = "e3-party";
    tag = "latest";
    contents =
      tools
      ++ [
        (linkFarm "e3-etc" [
          {
            name = "etc/e3";
            path = contract;
          }
        ])
        coreutils
        dockerTools.binSh
        dockerTools.caCertificates
        (dockerTools.fakeNss.override {
          extraPasswdLines = ["sshd:x:997:997:sshd:/var/empty:/bin/false"];
          extraGroupLines = ["sshd:x:997:"];
        })
        dockerTools.usrBinEnv
        iproute2
        iputils
        nftables
        openssh
        openssl
        party
        procps
        util-linux
      ];
    extraCommands = ''
      mkdir -p root run tmp var/empty var/keys var/lib var/log var/tmp
      chmod 1777 tmp var/tmp
      chmod 700 root var/keys
    '';
    config = {
      Entrypoint = ["${tini}/bin/tini" "--" "${start}"];
      Env = ["PATH=/bin"];
      ExposedPorts."22/tcp" = {};
      Volumes."/var/keys" = {};
    };
  }
