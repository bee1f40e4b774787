# Admits SSH, the ports of an overlay's tunnels, and what comes through the tunnels.
{
  config,
  lib,
  ...
}: {
  options.e3.interfaces = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default = [];
    description = "The overlays' interfaces: packets there come from members.";
  };

  config.networking = {
    nftables.enable = true;
    firewall = {
      enable = true;
      trustedInterfaces = config.e3.interfaces;
      # an overlay's packet may arrive at another interface than its answer leaves by
      checkReversePath = "loose";
      logRefusedConnections = false;
    };
  };
}
