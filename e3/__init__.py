"""E3, the Extensible Evaluation Environment: one Pulumi stack is one MPyC experiment."""
