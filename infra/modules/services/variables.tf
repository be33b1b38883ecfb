variable "project" {
  description = "Project of the APIs."
  type        = string
}

variable "billing_budgets" {
  description = "Enable the API of budgets too."
  type        = bool
}
