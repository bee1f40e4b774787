# /var/keys: where keys are at run time. They come to a machine after its image was built.
{
  config,
  lib,
  ...
}: {
  options.e3.keysFrom = lib.mkOption {
    type = lib.types.nullOr lib.types.str;
    default = null;
    description = "A folder of which authorized_keys is taken over at each start, such as of a medium.";
  };

  config = lib.mkMerge [
    {systemd.tmpfiles.rules = ["d /var/keys 0700 root root -"];}
    (lib.mkIf (config.e3.keysFrom != null) {
      systemd.services.e3-keys = {
        description = "Take over keys from ${config.e3.keysFrom}";
        wantedBy = ["multi-user.target"];
        before = ["sshd.service"];
        unitConfig.RequiresMountsFor = config.e3.keysFrom;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
        };
        # a medium has other owners, which sshd would not trust
        script = ''
          if [ -f ${config.e3.keysFrom}/authorized_keys ]; then
            install -D -m 0600 ${config.e3.keysFrom}/authorized_keys /var/keys/authorized_keys
          fi
        '';
      };
    })
  ];
}
