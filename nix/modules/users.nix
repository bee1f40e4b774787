# Users: root, by key. E3 makes interfaces and gives parties users of their own, so it is root.
{
  config,
  lib,
  ...
}: {
  options.e3.authorizedKeys = lib.mkOption {
    # a private key would be readable in the store by everybody
    type = lib.types.listOf (lib.types.strMatching "(ssh|ecdsa|sk)-[^ ]+ [A-Za-z0-9+/=]+.*");
    default = [];
    description = "Public keys that may log in, besides those in /var/keys/authorized_keys.";
  };

  config = {
    users.users.root = {
      hashedPassword = "!";
      openssh.authorizedKeys.keys = config.e3.authorizedKeys;
    };
    security.sudo.execWheelOnly = true;
  };
}
