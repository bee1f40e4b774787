# Tailscale's client and relay. E3 starts it and logs it in with a key from /var/keys.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.tailscale.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether this host can join the overlay tailscale.";
  };

  config = lib.mkIf config.e3.overlays.tailscale.enable {
    e3.tools = [pkgs.tailscale];
    e3.interfaces = ["tailscale0"];
    networking.firewall.allowedUDPPorts = [41641];
  };
}
