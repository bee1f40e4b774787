# The machine as such: small, on time, and nothing that phones home.
{lib, ...}: {
  boot.tmp.cleanOnBoot = true;
  documentation.enable = false;
  environment.defaultPackages = lib.mkForce [];
  # certificates are valid from one moment to another
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
