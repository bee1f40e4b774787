# All modules of a host of E3.
{imports = builtins.attrValues (import ./all.nix);}
