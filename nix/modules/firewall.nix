# Nobody is let in but by SSH, by what an overlay's tunnels need, and through the tunnels.
{
  config,
  lib,
  ...
}: {
  options.e3.interfaces = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default = [];
    description = "The overlays' interfaces: whoever comes in there is a member.";
  };

  config.networking = {
    nftables.enable = true;
    firewall = {
      enable = true;
      trustedInterfaces = config.e3.interfaces;
      # an overlay's packet may come in where its answer would not go out
      checkReversePath = "loose";
      logRefusedConnections = false;
    };
  };
}
