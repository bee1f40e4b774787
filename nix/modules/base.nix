# The basic system: small, with a synchronised clock and no telemetry.
{lib, ...}: {
  boot.tmp.cleanOnBoot = true;
  documentation.enable = false;
  environment.defaultPackages = lib.mkForce [];
  # certificates are valid in a period of time only
  services.timesyncd.enable = true;
  nix.gc = {
    automatic = true;
    options = "--delete-older-than 14d";
  };
  # sources of nixpkgs would be a third of an image
  nixpkgs.flake = {
    setFlakeRegistry = false;
    setNixPath = false;
  };
  # a round trip of 230 ms at 1 Gbit/s, as in the lab
  boot.kernel.sysctl = {
    "net.ipv4.tcp_rmem" = "4096 131072 33554432";
    "net.ipv4.tcp_wmem" = "4096 65536 33554432";
  };
  system.stateVersion = "26.05";
}
