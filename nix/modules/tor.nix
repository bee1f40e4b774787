# Tor. E3 writes its configuration and starts it; the ports are those of a network of our own. E3
# sends e3-tunnel, which forwards between the loopback and onion services.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.tor = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether this host can join the overlay tor.";
    };
    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      description = "E3's program e3-tunnel, which nixpkgs does not have; without it, E3 sends its own.";
    };
  };

  config = lib.mkIf config.e3.overlays.tor.enable {
    e3.tools =
      [pkgs.openssl pkgs.tor]
      ++ lib.optional (config.e3.overlays.tor.package != null) config.e3.overlays.tor.package;
    networking.firewall.allowedTCPPortRanges = [
      {
        from = 9001;
        to = 9005;
      }
    ];
  };
}
