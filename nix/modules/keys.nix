# /var/keys: the folder of keys at run time. They are added to a machine after its image was built.
{
  config,
  lib,
  ...
}: {
  options.e3.keysFrom = lib.mkOption {
    type = lib.types.nullOr lib.types.str;
    default = null;
    description = "A folder, as on a medium, from which authorized_keys is copied at each start.";
  };

  config = lib.mkMerge [
    {systemd.tmpfiles.rules = ["d /var/keys 0700 root root -"];}
    (lib.mkIf (config.e3.keysFrom != null) {
      systemd.services.e3-keys = {
        description = "Copy keys from ${config.e3.keysFrom}";
        wantedBy = ["multi-user.target"];
        before = ["sshd.service"];
        unitConfig.RequiresMountsFor = config.e3.keysFrom;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
        };
        # on a medium files have other owners, which sshd does not accept
        script = ''
          if [ -f ${config.e3.keysFrom}/authorized_keys ]; then
            install -D -m 0600 ${config.e3.keysFrom}/authorized_keys /var/keys/authorized_keys
          fi
        '';
      };
    })
  ];
}
