# didcomm. E3 sends its own programs and starts them; this is what they need of the host.
{
  config,
  lib,
  ...
}: {
  options.e3.overlays.didcomm = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether this host can join the overlay didcomm.";
    };
    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      description = "Its program, e3-tunnel, which nixpkgs does not have; without it, E3 sends its own.";
    };
  };

  config = lib.mkIf config.e3.overlays.didcomm.enable {
    e3.tools = lib.optional (config.e3.overlays.didcomm.package != null) config.e3.overlays.didcomm.package;
    e3.interfaces = ["e3-didcomm"];
    networking.firewall = {
      allowedTCPPorts = [3478 8440 8441];
      allowedUDPPorts = [3478 3479 8441];
    };
  };
}
