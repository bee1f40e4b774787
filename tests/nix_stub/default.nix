# `machine` evaluates modules of a host; `flake` is what nixpkgs is to flake.nix.
let
  lib = import ./lib.nix;
  pkgsOf = import ./pkgs.nix;
  machine = system: modules: let
    evaluated = lib.evaluate {
      inherit modules;
      arguments = {pkgs = pkgsOf system;};
      foreign = "nixpkgs";
    };
  in {
    config = lib.present evaluated.config;
    inherit (evaluated) imported;
  };
in {
  inherit machine pkgsOf;
  flake = {
    lib =
      lib
      // {
        nixosSystem = {modules}: {
          config.system.build = lib.genAttrs ["digitalOceanImage" "sdImage" "vm"] (name: {
            inherit name;
            outPath = "/image/${name}";
            modules = builtins.length modules;
          });
        };
      };
    legacyPackages = lib.genAttrs ["x86_64-linux" "aarch64-linux"] pkgsOf;
  };
}
