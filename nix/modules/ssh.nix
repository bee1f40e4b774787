# SSH, by which E3 reaches a host: keys only, and enough concurrent sessions for a stack.
{
  services.openssh = {
    enable = true;
    openFirewall = true;
    # of this type only, which the first contact checks
    hostKeys = [
      {
        path = "/etc/ssh/ssh_host_ed25519_key";
        type = "ed25519";
      }
    ];
    # a cloud writes to root's home; keys of a medium are copied to /var/keys
    authorizedKeysInHomedir = true;
    authorizedKeysFiles = ["/var/keys/authorized_keys"];
    settings = {
      AllowAgentForwarding = false;
      ClientAliveCountMax = 4;
      ClientAliveInterval = 15;
      KbdInteractiveAuthentication = false;
      LoginGraceTime = 30;
      MaxAuthTries = 4;
      MaxSessions = 64;
      MaxStartups = "64:30:128";
      PasswordAuthentication = false;
      PermitRootLogin = "prohibit-password";
      X11Forwarding = false;
    };
  };
}
