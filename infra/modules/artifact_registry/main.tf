# The images of the lookup service and of Dataflow's workers. A deployment refers to images by digest, so old images
# must stay as long as somebody may deploy them again.

resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = var.name
  description   = "Foreserve: images of the lookup service and of Dataflow's workers"
  format        = "DOCKER"

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "7776000s" # 90 days
    }
  }

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"

    most_recent_versions {
      keep_count = 20 # of each image
    }
  }
}
