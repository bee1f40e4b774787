# OpenVPN 2.6. E3 writes its configuration and starts it.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.openvpn.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether this host can join the overlay openvpn.";
  };

  config = lib.mkIf config.e3.overlays.openvpn.enable {
    e3.tools = [pkgs.openssl pkgs.openvpn];
    e3.interfaces = ["e3-openvpn"];
    networking.firewall.allowedUDPPorts = [1194];
  };
}
