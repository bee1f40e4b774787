# What E3 needs of a host: /etc/e3, and programs on its PATH (docs/images.md).
{
  config,
  lib,
  pkgs,
  ...
}: let
  # overlays whose programs are installed
  enabled = lib.filterAttrs (_: overlay: overlay.enable && overlay.package or true != null) config.e3.overlays;
in {
  options.e3 = {
    party = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ../packages/party.nix {};
      description = "The party environment: a Python with mpyc.";
    };
    tools = lib.mkOption {
      type = lib.types.listOf lib.types.package;
      default = [];
      description = "Packages whose programs overlays run.";
    };
  };

  config = {
    environment.etc.e3.source = pkgs.callPackage ../packages/contract.nix {
      inherit (config.e3) party tools;
      overlays = lib.attrNames enabled;
      services = "systemd";
    };
    environment.systemPackages =
      config.e3.tools
      ++ [
        config.e3.party
        pkgs.iproute2
        pkgs.iputils
        pkgs.nftables
        pkgs.openssl
        pkgs.procps
        pkgs.rsync
        pkgs.util-linux
      ];
    # units that E3 writes call it by this path, as on other systems
    systemd.tmpfiles.rules = ["L+ /bin/kill - - - - ${pkgs.util-linux}/bin/kill"];
    boot.kernelModules = ["tun"];
  };
}
