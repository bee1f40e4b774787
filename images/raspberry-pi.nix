# A Raspberry Pi 4 (64 bits). Before its first start, put authorized_keys on the card's FAT partition.
{
  lib,
  modulesPath,
  ...
}: {
  imports = ["${modulesPath}/installer/sd-card/sd-image-aarch64.nix"];

  networking.hostName = lib.mkDefault "e3-pi";
  # so that it is found at home without knowing its address
  services.avahi = {
    enable = true;
    openFirewall = true;
    publish = {
      enable = true;
      addresses = true;
    };
  };
  fileSystems."/boot/firmware".options = lib.mkForce ["nofail" "ro" "umask=0077"];
  e3.keysFrom = "/boot/firmware";
  hardware.enableRedistributableFirmware = true;
  boot.supportedFilesystems.zfs = lib.mkForce false;
}
