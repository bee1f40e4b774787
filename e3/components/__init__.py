"""Pulumi components: several resources that `pulumi up` shows as one."""
