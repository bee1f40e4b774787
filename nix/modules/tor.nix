# Tor. E3 writes its configuration and starts it; the ports are those of a network of our own.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.tor.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether this host can join the overlay tor.";
  };

  config = lib.mkIf config.e3.overlays.tor.enable {
    e3.tools = [pkgs.openssl pkgs.tor];
    networking.firewall.allowedTCPPortRanges = [
      {
        from = 9001;
        to = 9005;
      }
    ];
  };
}
