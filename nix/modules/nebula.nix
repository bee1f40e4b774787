# Nebula. E3 writes its configuration and starts it; here is what it needs of the host.
{
  config,
  lib,
  pkgs,
  ...
}: {
  options.e3.overlays.nebula.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether this host can join the overlay nebula.";
  };

  config = lib.mkIf config.e3.overlays.nebula.enable {
    e3.tools = [pkgs.nebula];
    e3.interfaces = ["nebula1"];
    networking.firewall.allowedUDPPorts = [4242];
  };
}
