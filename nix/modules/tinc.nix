# tinc 1.0. E3 writes its configuration and starts it.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.tinc.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether this host can join the overlay tinc.";
  };

  config = lib.mkIf config.e3.overlays.tinc.enable {
    e3.tools = [pkgs.tinc];
    e3.interfaces = ["e3-tinc"];
    networking.firewall = {
      allowedTCPPorts = [655];
      allowedUDPPorts = [655];
    };
  };
}
