# A droplet. Its host key comes by user data, read by cloud-init before sshd starts.
{modulesPath, ...}: {
  imports = ["${modulesPath}/virtualisation/digital-ocean-image.nix"];

  virtualisation.digitalOcean.rebuildFromUserData = false;
  virtualisation.digitalOceanImage.compressionMethod = "gzip";
  services.do-agent.enable = false;
  services.cloud-init = {
    enable = true;
    network.enable = false;
    settings = {
      datasource_list = ["DigitalOcean" "None"];
      preserve_hostname = true;
      cloud_init_modules = ["ssh"];
      cloud_config_modules = [];
      cloud_final_modules = [];
    };
  };
  # user data holds the host's private key, and any process could ask for it
  networking.nftables.tables.e3-metadata = {
    family = "inet";
    content = ''
      chain output {
        type filter hook output priority filter; policy accept;
        ip daddr 169.254.169.254 meta skuid != 0 drop
      }
    '';
  };
}
