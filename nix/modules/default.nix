# A host of E3, whatever machine it is.
{imports = builtins.attrValues (import ./all.nix);}
