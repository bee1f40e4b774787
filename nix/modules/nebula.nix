# Nebula. E3 writes its configuration and starts it; this is what it needs of the host.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.nebula = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether this host can join the overlay nebula.";
    };
    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      # E3 needs at least 1.12
      default =
        if lib.versionAtLeast pkgs.nebula.version "1.12"
        then pkgs.nebula
        else null;
      description = "Its programs, of version 1.12 or newer; without them, E3 sends its own.";
    };
  };

  config = lib.mkIf config.e3.overlays.nebula.enable {
    e3.tools = lib.optional (config.e3.overlays.nebula.package != null) config.e3.overlays.nebula.package;
    e3.interfaces = ["nebula1"];
    networking.firewall.allowedUDPPorts = [4242];
  };
}
