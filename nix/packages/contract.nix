# The content of /etc/e3 in an image; see docs/images.md.
{
  buildEnv,
  lib,
  linkFarm,
  overlays,
  party,
  services,
  stdenv,
  tools,
  writeText,
}: let
  programs = buildEnv {
    name = "e3-tools";
    paths = tools;
    pathsToLink = ["/bin"];
  };
  description = {
    contract = 1;
    python = "/etc/e3/python";
    tools = "/etc/e3/tools";
    system = stdenv.hostPlatform.system;
    overlays = lib.sort lib.lessThan overlays;
    inherit services;
  };
in
  linkFarm "e3-contract" [
    {
      name = "python";
      path = "${party}/bin/python3";
    }
    {
      name = "tools";
      path = "${programs}/bin";
    }
    {
      name = "image.json";
      path = writeText "image.json" (builtins.toJSON description);
    }
  ]
