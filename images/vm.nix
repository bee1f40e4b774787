# A virtual machine for QEMU, whose SSH is port 2222 of this machine.
# Its keys come from the folder E3_KEYS, or keys of the present one.
{modulesPath, ...}: {
  imports = ["${modulesPath}/virtualisation/qemu-vm.nix"];

  networking.hostName = "e3-vm";
  virtualisation = {
    cores = 2;
    memorySize = 2048;
    graphics = false;
    forwardPorts = [
      {
        from = "host";
        host.address = "127.0.0.1";
        host.port = 2222;
        guest.port = 22;
      }
    ];
    sharedDirectories.keys = {
      source = ''"''${E3_KEYS:-$PWD/keys}"'';
      target = "/mnt/keys";
    };
  };
  e3.keysFrom = "/mnt/keys";
}
