output "pod_role_arns" {
  description = "The ARNs of the roles of pods, by name."
  value       = { for name, role in aws_iam_role.pod : name => role.arn }
}

output "service_control_policy" {
  description = "A service control policy for the cluster's account. An example: read it before you attach it."
  value       = module.policies.service_control
}
