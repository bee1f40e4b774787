{
  description = "E3: environments, NixOS modules and images for hosts that run MPyC parties";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = {nixpkgs, ...}: let
    inherit (nixpkgs) lib;
    systems = ["x86_64-linux" "aarch64-linux"];
    each = make: lib.genAttrs systems (system: make system nixpkgs.legacyPackages.${system});
    machine = system: image:
      lib.nixosSystem {
        modules = [
          ./nix/modules
          image
          {nixpkgs.hostPlatform = system;}
        ];
      };
    machines = {
      droplet = machine "x86_64-linux" ./images/digitalocean.nix;
      raspberry-pi = machine "aarch64-linux" ./images/raspberry-pi.nix;
      vm-x86_64 = machine "x86_64-linux" ./images/vm.nix;
      vm-aarch64 = machine "aarch64-linux" ./images/vm.nix;
    };
    build = name: machines.${name}.config.system.build;
    images = {
      x86_64-linux = {
        digitalocean = (build "droplet").digitalOceanImage;
        vm = (build "vm-x86_64").vm;
      };
      aarch64-linux = {
        raspberry-pi = (build "raspberry-pi").sdImage;
        vm = (build "vm-aarch64").vm;
      };
    };
  in {
    packages = each (system: pkgs: let
      party = pkgs.callPackage ./nix/packages/party.nix {};
    in
      images.${system}
      // {
        inherit party;
        default = party;
        mpyc = pkgs.python3Packages.callPackage ./nix/packages/mpyc.nix {};
        container = pkgs.callPackage ./images/container.nix {};
      });

    devShells = each (_: pkgs: {default = pkgs.callPackage ./nix/shell.nix {};});

    nixosModules = import ./nix/modules/all.nix // {default = ./nix/modules;};
    nixosConfigurations = machines;

    formatter = each (_: pkgs: pkgs.alejandra);
  };
}
