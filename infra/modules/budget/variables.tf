variable "project" {
  description = "Project of the resources."
  type        = string
}

variable "billing_account" {
  description = "Id of the billing account."
  type        = string
}

variable "monthly_amount" {
  description = "Budget per month, in whole units of the currency."
  type        = number
}

variable "currency" {
  description = "Currency of the billing account: USD, EUR, ..."
  type        = string
}

variable "label_key" {
  description = "Key of the label."
  type        = string
}

variable "label_value" {
  description = "Value of the label."
  type        = string
}

variable "notification_channels" {
  description = "Full names of at most five notification channels. Empty: the administrators of the billing account."
  type        = list(string)
}
