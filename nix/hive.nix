# The hosts of a stack as Colmena's hive: `e3:fleet-options: {colmena: nix/hive.nix}`.
# E3 gives them in E3_HOSTS, each a module with deployment, name and system.
let
  flake = builtins.getFlake (toString (dirOf ../flake.nix));
in
  {
    meta.nixpkgs = import flake.inputs.nixpkgs {system = "x86_64-linux";};
    defaults.imports = [./modules ../images/digitalocean.nix];
  }
  // builtins.fromJSON (builtins.getEnv "E3_HOSTS")
