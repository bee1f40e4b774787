"""The joint authority: a signing key that no one holds, in Shamir shares of several holders.

`ed25519` is the group, by libsodium; `sharing` makes and renews shares (Feldman's verifiable secret
sharing); `frost` signs with the shares of any ``threshold`` holders (RFC 9591); `requests` are what
it can be asked to sign. All are pure: who sends what to whom is decided by their caller. They
import nothing else of E3. Their values are structs of msgspec, and not dataclasses: each holder
of each ceremony begins with a new Python, in which dataclasses take ten times as long to declare.
"""
