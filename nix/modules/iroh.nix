# iroh. E3 sends its own program and starts it; this is what it needs of the host.
{
  config,
  lib,
  ...
}: {
  options.e3.overlays.iroh = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether this host can join the overlay iroh.";
    };
    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      description = "Its program, e3-iroh, which nixpkgs does not have; without it, E3 sends its own.";
    };
  };

  config = lib.mkIf config.e3.overlays.iroh.enable {
    e3.tools = lib.optional (config.e3.overlays.iroh.package != null) config.e3.overlays.iroh.package;
    networking.firewall = {
      allowedTCPPorts = [3340];
      allowedUDPPorts = [4433 7842];
    };
  };
}
