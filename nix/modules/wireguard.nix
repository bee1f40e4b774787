# WireGuard, by the kernel or in user space. Keys are made by E3, on the host.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.wireguard.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether this host can join the overlay wireguard.";
  };

  config = lib.mkIf config.e3.overlays.wireguard.enable {
    e3.tools = [pkgs.wireguard-go pkgs.wireguard-tools];
    e3.interfaces = ["e3-wireguard"];
    boot.kernelModules = ["wireguard"];
    networking.firewall.allowedUDPPorts = [51820];
  };
}
