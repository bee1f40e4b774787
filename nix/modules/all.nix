# Every module by name; one concern each.
{
  base = ./base.nix;
  contract = ./contract.nix;
  didcomm = ./didcomm.nix;
  firewall = ./firewall.nix;
  headscale = ./headscale.nix;
  iroh = ./iroh.nix;
  keys = ./keys.nix;
  libp2p = ./libp2p.nix;
  nebula = ./nebula.nix;
  openvpn = ./openvpn.nix;
  plain = ./plain.nix;
  ssh = ./ssh.nix;
  tailscale = ./tailscale.nix;
  tinc = ./tinc.nix;
  tor = ./tor.nix;
  users = ./users.nix;
  wireguard = ./wireguard.nix;
}
