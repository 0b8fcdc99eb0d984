"""The settings that would make the templates say what is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from zedi.settings import Settings, SettingsError, changed

_KEYS: Final[Mapping[tuple[str, str], str]] = {
    ("AWS::EC2::VPC", "CidrBlock"): "networking.vpc_cidr",
    ("AWS::Cognito::UserPool", "MfaConfiguration"): "security.mfa",
    ("AWS::Cognito::UserPool", "Policies.PasswordPolicy.MinimumLength"): "security.password_minimum_length",
    (
        "AWS::Cognito::UserPool",
        "Policies.PasswordPolicy.TemporaryPasswordValidityDays",
    ): "security.temporary_password_days",
    ("AWS::Cognito::UserPoolClient", "CallbackURLs"): "security.callback_urls",
    ("AWS::Cognito::UserPoolClient", "LogoutURLs"): "security.logout_urls",
    ("AWS::Cognito::UserPoolClient", "AccessTokenValidity"): "security.token_hours",
    ("AWS::Cognito::UserPoolClient", "RefreshTokenValidity"): "security.refresh_token_days",
    ("AWS::RDS::DBCluster", "DatabaseName"): "database.name",
    ("AWS::RDS::DBCluster", "EngineVersion"): "database.engine_version",
    ("AWS::RDS::DBCluster", "MasterUsername"): "database.master_username",
    ("AWS::RDS::DBCluster", "Port"): "database.port",
    ("AWS::RDS::DBCluster", "ServerlessV2ScalingConfiguration.MinCapacity"): "database.min_acu",
    ("AWS::RDS::DBCluster", "ServerlessV2ScalingConfiguration.MaxCapacity"): "database.max_acu",
    (
        "AWS::RDS::DBCluster",
        "ServerlessV2ScalingConfiguration.SecondsUntilAutoPause",
    ): "database.auto_pause_seconds",
    ("AWS::RDS::DBCluster", "BackupRetentionPeriod"): "database.backup_retention_days",
    ("AWS::RDS::DBCluster", "PreferredBackupWindow"): "database.backup_window",
    ("AWS::RDS::DBCluster", "PreferredMaintenanceWindow"): "database.maintenance_window",
    ("AWS::RDS::DBCluster", "DeletionProtection"): "database.deletion_protection",
    ("AWS::RDS::DBClusterParameterGroup", "Parameters.log_statement"): "database.log_statement",
    (
        "AWS::RDS::DBClusterParameterGroup",
        "Parameters.log_min_duration_statement",
    ): "database.log_min_duration_ms",
    ("AWS::RDS::DBInstance", "PerformanceInsightsRetentionPeriod"): "database.performance_insights_days",
    ("AWS::ElastiCache::ReplicationGroup", "Engine"): "cache.engine",
    ("AWS::ElastiCache::ReplicationGroup", "EngineVersion"): "cache.engine_version",
    ("AWS::ElastiCache::ReplicationGroup", "CacheNodeType"): "cache.node_type",
    ("AWS::ElastiCache::ReplicationGroup", "NumCacheClusters"): "cache.nodes",
    ("AWS::ElastiCache::ReplicationGroup", "Port"): "cache.port",
    ("AWS::ElastiCache::ReplicationGroup", "TransitEncryptionEnabled"): "cache.tls",
    ("AWS::ElastiCache::ReplicationGroup", "PreferredMaintenanceWindow"): "cache.maintenance_window",
    ("AWS::ElastiCache::ReplicationGroup", "SnapshotWindow"): "cache.snapshot_window",
    ("AWS::ElastiCache::ReplicationGroup", "SnapshotRetentionLimit"): "cache.snapshot_retention_days",
    ("AWS::Logs::LogGroup", "RetentionInDays"): "cache.log_retention_days",
}
"""What a property is taken from, by type and path."""


def suggested(settings: Settings, kind: str, path: str, value: Any) -> tuple[str, Any] | None:
    """The key and the value for it that make our template say `value` there; None: no setting does.

    A value that the settings do not take is no suggestion.
    """
    key = _KEYS.get((kind, path))
    if key is None or value is None:
        return None
    table, name = key.split(".")
    current = getattr(getattr(settings, table), name)
    value = _as(current, value)
    try:
        changed(settings, {key: json.dumps(value, ensure_ascii=False)}, key)
    except SettingsError:
        return None
    return key, value


def _as(current: Any, value: Any) -> Any:
    """The value in the setting's own type: numbers stand as text in places."""
    if isinstance(current, bool) or not isinstance(current, int | float):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return number if isinstance(current, float) else int(number)


def toml(suggestions: Mapping[str, Any]) -> str:
    """Suggestions as they would stand in the environment's file."""
    tables: dict[str, list[str]] = {}
    for key, value in sorted(suggestions.items()):
        table, name = key.split(".")
        # TOML writes text, numbers, booleans and lists of them as JSON does.
        tables.setdefault(table, []).append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n\n".join("\n".join([f"[{table}]", *lines]) for table, lines in tables.items())
