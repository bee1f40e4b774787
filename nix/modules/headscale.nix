# Headscale: the control server and the relay, on the host that E3 chooses for them.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.headscale.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether this host can join the overlay headscale.";
  };

  config = lib.mkIf config.e3.overlays.headscale.enable {
    e3.overlays.tailscale.enable = true; # its clients are those of Tailscale
    e3.tools = [pkgs.headscale];
    networking.firewall = {
      allowedTCPPorts = [443];
      allowedUDPPorts = [3478];
    };
  };
}
