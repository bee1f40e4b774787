# No overlay: parties connect over the open network, so this is off by default.
{
  config,
  lib,
  ...
}: {
  options.e3.overlays.plain.enable = lib.mkOption {
    type = lib.types.bool;
    default = false;
    description = "Whether this host can join the overlay plain.";
  };

  config = lib.mkIf config.e3.overlays.plain.enable {
    # the probe, and MPyC's parties
    networking.firewall.allowedTCPPorts = [11299];
    networking.firewall.allowedTCPPortRanges = [
      {
        from = 11365;
        to = 21364;
      }
    ];
  };
}
