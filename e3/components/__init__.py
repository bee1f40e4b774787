"""Pulumi components: several resources that a person sees as one."""
