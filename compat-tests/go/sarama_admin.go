package main

import (
	"fmt"

	"github.com/IBM/sarama"
)

func (s *Sarama) admin(use func(sarama.ClusterAdmin) error) error {
	admin, err := sarama.NewClusterAdmin([]string{s.bootstrap}, s.config())
	if err != nil {
		return err
	}
	defer admin.Close()
	return use(admin)
}

// CreateTopic creates a topic.
func (s *Sarama) CreateTopic(topic string, partitions int32, factor int16, configs map[string]string) error {
	values := map[string]*string{}
	for name, value := range configs {
		values[name] = &value
	}
	return s.admin(func(admin sarama.ClusterAdmin) error {
		detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: factor, ConfigEntries: values}
		return admin.CreateTopic(topic, detail, false)
	})
}

// DeleteTopic deletes a topic.
func (s *Sarama) DeleteTopic(topic string) error {
	return s.admin(func(admin sarama.ClusterAdmin) error { return admin.DeleteTopic(topic) })
}

// CreatePartitions raises the number of partitions.
func (s *Sarama) CreatePartitions(topic string, total int32) error {
	return s.admin(func(admin sarama.ClusterAdmin) error { return admin.CreatePartitions(topic, total, nil, false) })
}

// Topics lists topics.
func (s *Sarama) Topics() (out map[string]int, err error) {
	err = s.admin(func(admin sarama.ClusterAdmin) error {
		topics, err := admin.ListTopics()
		out = map[string]int{}
		for name, detail := range topics {
			out[name] = int(detail.NumPartitions)
		}
		return err
	})
	return out, err
}

// TopicConfigs describes a topic's configs.
func (s *Sarama) TopicConfigs(topic string) (out map[string]string, err error) {
	err = s.admin(func(admin sarama.ClusterAdmin) error {
		entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
		out = map[string]string{}
		for _, entry := range entries {
			out[entry.Name] = entry.Value
		}
		return err
	})
	return out, err
}

// SetTopicConfig sets one config, or removes it.
func (s *Sarama) SetTopicConfig(topic, name string, value *string) error {
	operation := sarama.IncrementalAlterConfigsOperationSet
	if value == nil {
		operation = sarama.IncrementalAlterConfigsOperationDelete
	}
	return s.admin(func(admin sarama.ClusterAdmin) error {
		return admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
			name: {Operation: operation, Value: value},
		}, false)
	})
}

func (s *Sarama) offsets(topic string, timestamp int64) (map[int32]int64, error) {
	client, err := sarama.NewClient([]string{s.bootstrap}, s.config())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	partitions, err := client.Partitions(topic)
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, partition := range partitions {
		if out[partition], err = client.GetOffset(topic, partition, timestamp); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// StartOffsets lists the log starts.
func (s *Sarama) StartOffsets(topic string) (map[int32]int64, error) {
	return s.offsets(topic, sarama.OffsetOldest)
}

// EndOffsets lists the high watermarks.
func (s *Sarama) EndOffsets(topic string) (map[int32]int64, error) {
	return s.offsets(topic, sarama.OffsetNewest)
}

// OffsetsAt lists offsets for a timestamp.
func (s *Sarama) OffsetsAt(topic string, timestamp int64) (map[int32]int64, error) {
	return s.offsets(topic, timestamp)
}

// DeleteRecords raises the log starts.
func (s *Sarama) DeleteRecords(topic string, before map[int32]int64) error {
	return s.admin(func(admin sarama.ClusterAdmin) error { return admin.DeleteRecords(topic, before) })
}

// LogSize sums the sizes that DescribeLogDirs tells.
func (s *Sarama) LogSize(topic string) (size int64, err error) {
	err = s.admin(func(admin sarama.ClusterAdmin) error {
		brokers, _, err := admin.DescribeCluster()
		if err != nil {
			return err
		}
		described, err := admin.DescribeLogDirs([]int32{brokers[0].ID()})
		for _, dirs := range described {
			for _, dir := range dirs {
				if dir.ErrorCode != sarama.ErrNoError {
					return dir.ErrorCode
				}
				for _, one := range dir.Topics {
					for _, partition := range one.Partitions {
						if one.Topic == topic {
							size += partition.Size
						}
					}
				}
			}
		}
		return err
	})
	return size, err
}

// Brokers counts the brokers.
func (s *Sarama) Brokers() (count int, err error) {
	err = s.admin(func(admin sarama.ClusterAdmin) error {
		brokers, _, err := admin.DescribeCluster()
		count = len(brokers)
		return err
	})
	return count, err
}

// Groups lists groups.
func (s *Sarama) Groups() (out []string, err error) {
	err = s.admin(func(admin sarama.ClusterAdmin) error {
		groups, err := admin.ListConsumerGroups()
		for name := range groups {
			out = append(out, name)
		}
		return err
	})
	return out, err
}

// DescribeGroup describes a classic group.
func (s *Sarama) DescribeGroup(group string) (out GroupDescription, err error) {
	err = s.admin(func(admin sarama.ClusterAdmin) error {
		groups, err := admin.DescribeConsumerGroups([]string{group})
		if err != nil {
			return err
		}
		if len(groups) != 1 {
			return fmt.Errorf("%d descriptions of one group", len(groups))
		}
		if groups[0].Err != sarama.ErrNoError {
			return groups[0].Err
		}
		out = GroupDescription{State: groups[0].State, Protocol: groups[0].Protocol, Members: len(groups[0].Members)}
		for _, member := range groups[0].Members {
			assignment, err := member.GetMemberAssignment()
			if err != nil {
				return err
			}
			if assignment != nil {
				for _, partitions := range assignment.Topics {
					out.Assigned += len(partitions)
				}
			}
		}
		return nil
	})
	return out, err
}

// GroupOffsets fetches committed offsets.
func (s *Sarama) GroupOffsets(group, topic string) (out map[int32]int64, err error) {
	err = s.admin(func(admin sarama.ClusterAdmin) error {
		answer, err := admin.ListConsumerGroupOffsets(group, nil)
		if err != nil {
			return err
		}
		out = map[int32]int64{}
		for partition, block := range answer.Blocks[topic] {
			if block.Err != sarama.ErrNoError {
				return block.Err
			}
			out[partition] = block.Offset
		}
		return nil
	})
	return out, err
}

// SetGroupOffsets commits from outside.
func (s *Sarama) SetGroupOffsets(group, topic string, wanted map[int32]int64) error {
	offsets := map[int32]sarama.OffsetAndMetadata{}
	for partition, offset := range wanted {
		offsets[partition] = sarama.OffsetAndMetadata{Offset: offset, LeaderEpoch: -1, Metadata: "reset"}
	}
	return s.admin(func(admin sarama.ClusterAdmin) error {
		answer, err := admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{topic: offsets}, nil)
		if err != nil {
			return err
		}
		for _, code := range answer.Errors[topic] {
			if code != sarama.ErrNoError {
				return code
			}
		}
		return nil
	})
}

// DeleteGroupOffset deletes one committed offset.
func (s *Sarama) DeleteGroupOffset(group, topic string, partition int32) error {
	return s.admin(func(admin sarama.ClusterAdmin) error { return admin.DeleteConsumerGroupOffset(group, topic, partition) })
}

// DeleteGroup deletes a group.
func (s *Sarama) DeleteGroup(group string) error {
	return s.admin(func(admin sarama.ClusterAdmin) error { return admin.DeleteConsumerGroup(group) })
}
