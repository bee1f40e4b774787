# libp2p. E3 sends its own program and starts it; this is what it needs of the host.
{
  config,
  lib,
  ...
}: {
  options.e3.overlays.libp2p = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether this host can join the overlay libp2p.";
    };
    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      description = "Its program, e3-libp2p, which nixpkgs does not have; without it, E3 sends its own.";
    };
  };

  config = lib.mkIf config.e3.overlays.libp2p.enable {
    e3.tools = lib.optional (config.e3.overlays.libp2p.package != null) config.e3.overlays.libp2p.package;
    networking.firewall.allowedTCPPorts = [4001];
  };
}
